"""Real faults for tests: death at a step, a call that fails, a full disk, a second process.

Nothing in dbmod knows of them: the calls of the operating system are replaced in a forked child.
"""
