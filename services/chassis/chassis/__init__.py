"""The library that every service shares.

The packages, in reading order; each imports only those before it:

- `types`: money, identifiers and problems, for every domain. Standard library only.
- `errors`: the errors that the chassis raises, and the problems that any service may answer with.
- `settings`: the settings of a service, read from the environment.
- `observability`: logs and traces.
- `database`: PostgreSQL, its migrations, idempotency keys and invariants; the Redis client.
- `messaging`: events, the outbox that sends them, the inbox that receives them, and the broker between the two.
- `grpc`: the client and the server of calls between services.
- `http`: the HTTP application, its middleware, its problem responses and the verification of access tokens.
- `runtime`: the process that runs a service, from the command line to the shutdown.

A service's `app.py` composes these parts. Its domain imports `chassis.types` and nothing else of them.
"""
