"""Kademlia: who is near, quorum reads and writes, and the storing node. Sans-I/O (PROTOCOL.md section 9)."""
