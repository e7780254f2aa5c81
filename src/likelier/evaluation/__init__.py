"""Is the new model better, how sure is that, and at what distance?"""
