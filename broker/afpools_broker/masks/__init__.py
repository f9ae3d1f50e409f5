"""Makes the exclude mask that keeps a job on its pool, and proves it. Knows neither the store nor sockets."""
