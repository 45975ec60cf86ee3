"""The former place of `seelike.probes`' strengths, for code that was written then."""

from seelike.probes.strength import STRENGTHS

__all__ = ["STRENGTHS"]
