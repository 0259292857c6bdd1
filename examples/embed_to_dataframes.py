"""Embed a folder of pictures to Parquet, and work with the vectors in pandas and in polars.

    pip install 'clipsearch[examples]'
    python examples/embed_to_dataframes.py photos/ photos.parquet --server localhost:50051

``clipsearch embed`` writes one row a picture: ``id``, its path in the folder, and ``embedding``, a list of float32 of a
fixed length and unit norm. The file's own metadata say which weights made them: vectors of others do not compare.
Prints the pictures most like the first one, found in each of the two.
"""

import argparse
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow.parquet
from numpy.typing import NDArray

from clipsearch.client import Client

NEAREST = 5


def embed(photos: Path, out: Path, server: str) -> None:
    """Embed through the server, as ``clipsearch embed`` does on the command line."""
    command = [sys.executable, "-m", "clipsearch", "embed", str(photos), "--out", str(out), "--server", server]
    subprocess.run(command, check=True)


def weight_hash(file: Path) -> str:
    """Return the hash of the weights that made a file's vectors."""
    metadata: dict[bytes, bytes] = pyarrow.parquet.read_schema(file).metadata
    return metadata[b"clipsearch.weight_hash"].decode()


def pandas_vectors(frame: pd.DataFrame) -> NDArray[np.float32]:
    """Return the embeddings as one matrix, float32 [n, dimension]: pandas has an array in each cell."""
    return np.stack(frame["embedding"].to_list())


def polars_vectors(frame: pl.DataFrame) -> NDArray[np.float32]:
    """Return the embeddings as one matrix, float32 [n, dimension], which is what polars stores."""
    return frame["embedding"].to_numpy()


def most_similar(vectors: NDArray[np.float32], place: int) -> list[tuple[int, float]]:
    """Return the rows nearest to one of them, best first, with their cosines; vectors have unit length."""
    cosines = vectors @ vectors[place]
    best = [int(row) for row in np.argsort(-cosines, kind="stable") if row != place][:NEAREST]
    return [(row, float(cosines[row])) for row in best]


def main() -> None:
    """Embed, load, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, help="a directory of pictures")
    parser.add_argument("out", type=Path, help="the Parquet file to write")
    parser.add_argument("--server", default="localhost:50051", help="HOST:PORT")
    arguments = parser.parse_args()
    embed(arguments.photos, arguments.out, arguments.server)
    with Client(arguments.server) as client:
        if weight_hash(arguments.out) != client.model().weight_hash:
            sys.exit("the file was made by another model than the server's: its vectors do not compare with new ones")

    in_pandas, in_polars = pd.read_parquet(arguments.out), pl.read_parquet(arguments.out)
    for name, ids, vectors in [
        ("pandas", in_pandas["id"].to_list(), pandas_vectors(in_pandas)),
        ("polars", in_polars["id"].to_list(), polars_vectors(in_polars)),
    ]:
        print(f"{name}: {len(ids)} vectors of {vectors.shape[1]}; most like {ids[0]}:")
        for row, cosine in most_similar(vectors, 0):
            print(f"  {cosine:.3f} {ids[row]}")


if __name__ == "__main__":
    main()
