"""The command line: `yz-node` runs a node, `yz` stores and reads through one."""
