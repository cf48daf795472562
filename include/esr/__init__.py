"""The ESR exchange: files of the NHS Electronic Staff Record, reconciled with TCS."""
