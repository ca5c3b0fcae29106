"""Real servers for development and tests, started by one command: an Apache Kafka broker and a ClickHouse server."""
