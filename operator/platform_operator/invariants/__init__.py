"""Business invariants: scraped from a platform's services, kept as rows of its status, summed up in conditions.

Each service checks its own invariants every half minute, and less often where its tables are long (chassis.invariants).
It exports how many rows break each invariant; the broker exports how many events no consumer could handle, and the
gateway whether it ignores the headers of a proxy. Neither rows nor conditions hold a time or anything else that changes
while the facts do not, so that the status is written on transitions only.
"""
