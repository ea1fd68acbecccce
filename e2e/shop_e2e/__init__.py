"""A shop as a whole: started as local processes, or looked at in a cluster, and driven through its gateway."""
