import csv
import json
import shutil
from pathlib import Path

import pytest

from leukonca.cli import main
from leukonca.taxonomy import CLASSES
from tests.cli.conftest import SMALL
