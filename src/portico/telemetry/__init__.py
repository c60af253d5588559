"""What a running program tells about itself: log lines, metrics, trace ids."""
