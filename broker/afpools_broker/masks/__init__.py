"""From a pool and a farm to the exclude mask that keeps a job on the pool, proven. Knows no store and no socket."""
