"""Many runs as one: a recipe, a search for a pool, cells shared out, a report."""
