"""yzdht: a Kademlia DHT whose records are sealed and signed end to end."""
