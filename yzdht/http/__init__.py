"""What a node shows over HTTP, to people, monitoring and programs: `HttpServer`."""
