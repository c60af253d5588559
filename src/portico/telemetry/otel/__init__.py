"""Spans by OpenTelemetry; imported by a process that exports them and by no other."""
