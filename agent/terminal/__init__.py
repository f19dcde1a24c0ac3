"""How answers look: JSON for programs, tables and moving lines for people."""
