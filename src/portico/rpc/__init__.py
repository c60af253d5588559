"""How a stub reaches its servicer: in the process or over the network, with the same outcome.

Where a ``LocalChannel`` is not a socket's equal:

- A deadline cannot interrupt the servicer of a unary call: DEADLINE_EXCEEDED comes when it returns,
  and ``close`` waits no less. Futures and streams run in threads of their own and end at once.
- Limits of the wire do not hold: sizes of messages and of metadata. Call credentials and compression
  mean nothing inside a process and are ignored.
- ``peer()`` and ``auth_context()`` tell of no network, and no header of the transport's own arrives.
- Streams and futures are bounded in number (``portico.rpc.threads``), and those beyond are refused
  with RESOURCE_EXHAUSTED; a server lets them wait for a thread first.
- No call is tried again, and none is refused by an open circuit, a full bulkhead or an overloaded server:
  that is between processes.
- A call may be made while a database transaction is open, and joins it; one that leaves the process is
  refused then (CALL_INSIDE_TRANSACTION).

Where the kernel, near and far, is not plain grpcio's equal:

- What a servicer raises unforeseen is INTERNAL with an error id, and its text stays in the log; grpcio
  tells it to the caller as UNKNOWN. The same goes for an answer that is no message of the contract,
  and for SystemExit, after which grpcio's caller waits in vain.
- An error is cut to what fits into trailers (``portico.rpc.fitting``).
- Metadata that cannot travel is refused where the servicer sets it, not when the call ends.
- ``context.details()`` is text, as grpc documents it, and ``context.time_remaining()`` is None without
  a deadline; grpcio has bytes and a very large number.
- A call with no time left is not tried; a timeout of more than three years is none.
- A service is registered once, by handlers that say which methods they have.

A suite holds the rest to be equal, field by field: ``tests/placement``.
"""
