"""One session's requests, and the interface that every engine speaks. Sans-I/O."""
