"""The cache of the informers: platforms and their children, cut down to what decisions need."""
