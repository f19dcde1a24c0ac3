"""Calls as bytes: connections, their time-outs and how they are cut, and the body of an upload."""
