"""Pack Tiny ImageNet, or the small synthetic set, into shards.

    python scripts/pack.py                              data/raw (folder or zip) into data/shards
    python scripts/pack.py --source tiny-imagenet-200.zip --classes 20 --out data/shards-20
    python scripts/pack.py --synthetic

The whole of Tiny ImageNet takes some ten seconds on two cores. What cannot be packed whole is not packed: a bad image
or annotation stops with its name, and the folder is no data set before its manifest.json is there.
"""

import sys

if __name__ == "__main__":
    # Imported here because each decoding process reads this file again, and needs none of it.
    from fastwsol.command import run_command
    from fastwsol.packing import main

    sys.exit(run_command(main))
