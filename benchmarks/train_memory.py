"""The most memory that `leukonca train` takes with preset `paper`, batch 16: data, views and optimiser included.

python benchmarks/train_memory.py [--data ../shared/data/acevedo20]      # about a minute of two cores; Linux

One epoch of 64 drawn images; the kernel's account of the process's highest resident memory when the epoch is over, of
which files that are only mapped (the prepared images) count as well. What follows the epoch, tests and temperature, is
not waited for.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SETTINGS = ["--preset", "paper", "--batch-size", "16", "--epochs", "1", "--draws", "64", "--validation-images", "50"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/acevedo20"))
    words = ["train", "--data", f"acevedo20={parser.parse_args().data}", *SETTINGS]
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        training = subprocess.Popen([sys.executable, "-m", "leukonca", *words, "--out", str(run)])
        while training.poll() is None and not (run / "log.jsonl").is_file():
            time.sleep(0.1)
        if training.poll() is not None:
            raise SystemExit("the training ended before its epoch was over")
        told = dict(
            line.split(":", 1) for line in Path(f"/proc/{training.pid}/status").read_text(encoding="ascii").splitlines()
        )
        training.terminate()
        training.wait()
    kept = {name: int(told[name].split()[0]) * 1024 / 1e6 for name in ("VmHWM", "RssFile")}
    print(f"leukonca {' '.join(words)}: {kept['VmHWM']:,.0f} MB at most, {kept['RssFile']:,.0f} of mapped files")


if __name__ == "__main__":
    main()
