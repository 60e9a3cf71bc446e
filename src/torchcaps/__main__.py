"""`python -m torchcaps`, the same as `torchcaps`."""

from torchcaps.cli import main

if __name__ == "__main__":
    main()
