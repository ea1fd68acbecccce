"""What the operator knows of the cluster: the platforms and their children, cut down to what decisions need."""
