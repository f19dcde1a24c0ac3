"""The index as SQLite has it: the schema and its migrations, rows and their checksums, and what is asked of them."""
