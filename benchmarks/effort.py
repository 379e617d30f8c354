"""How much is measured, and the names of the loads."""

from dataclasses import dataclass

PAYLOADS = (18, 512, 1400)  # bytes
PACED = 100_000  # datagrams a second


@dataclass(frozen=True)
class Effort:
    """How long everything takes."""

    rounds: int  # runs of each row
    seconds: float  # of one live run
    savefile: int  # datagrams
    long: float  # seconds of the run that shows that cost stays flat


FULL = Effort(rounds=9, seconds=0.6, savefile=50_000, long=120)
QUICK = Effort(rounds=1, seconds=0.1, savefile=2000, long=1)


@dataclass(frozen=True)
class Load:
    """What the generator sends, and on what."""

    medium: str  # "veth" or "loopback"
    payload: int  # bytes
    rate: int  # datagrams a second; 0 is as many as the generator can
    flows: int = 1
    senders: int = 1  # who share the rate, each on a processor of its own if there are as many

    def __str__(self) -> str:
        speed = f"{self.rate / 1000:g} k/s" if self.rate else "full speed"
        return f"{self.medium}, {self.payload} B, {speed}"
