"""`python -m pgswarm.member` is `pgswarm member`."""

from pgswarm.member.main import run

if __name__ == "__main__":
    run()
