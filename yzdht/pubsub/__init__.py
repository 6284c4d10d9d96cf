"""Topics: histories kept at their hosts, messages passed on, gaps found and filled; engines without I/O (section 11)."""
