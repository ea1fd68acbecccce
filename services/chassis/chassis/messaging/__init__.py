"""Events between services: the topology, the outbox that sends them, the broker, and the inbox that receives them."""
