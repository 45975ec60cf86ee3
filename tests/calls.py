"""Count what a network does, without hanging anything on it."""


def calls_of(module, monkeypatch, stop_at=None):
    """Note how many images each call of a module gets, and stop the run at one of them.

    It is the class that is changed: because of a hook on the network the cache would be passed by.
    """
    seen, forward = [], type(module).forward

    def counted(self, x, *others, **named):
        if self is module:
            seen.append(len(x))
            if len(seen) == stop_at:
                raise KeyboardInterrupt
        return forward(self, x, *others, **named)

    monkeypatch.setattr(type(module), "forward", counted)
    return seen
