"""One controller a resource; each reads from top to bottom: observe, plan, execute."""
