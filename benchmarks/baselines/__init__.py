"""The same jobs done by other libraries, on the same inputs."""
