"""Pack Tiny ImageNet, own images, or the small synthetic set, into shards.

    python scripts/pack.py                              data/raw (folder or zip) into data/shards
    python scripts/pack.py --source tiny-imagenet-200.zip --classes 20 --out data/shards-20
    python scripts/pack.py --quarantine                 go on behind bad images, and list them in quarantine.json
    python scripts/pack.py --layout imagefolder --source photos --boxes boxes.csv     own images; also cub, wsoleval
    python scripts/pack.py --synthetic

Where data/raw has no Tiny ImageNet and no --source is named, the official zip (248 MB; its images are for
non-commercial research and teaching) is downloaded to there; a download that was stopped goes on where it was.

The whole of it packs in some seconds on two cores. Stopped or killed at any time, the same command continues behind
the last whole shard, to the same bytes; the folder is no data set before its manifest.json is there. What a training
should not see is not packed: damage that most decoders ignore, boxes outside their image, images that are missing.
The first one stops with its name, or with --quarantine they are left out and the exit status is 3. The source is only
read: a zip is never extracted, and nothing in it or behind a link can lead out of it.
"""

from fastwsol.host.starting import run

if __name__ == "__main__":
    run("pack")
