"""Draws the tables that `metavar analyze` writes.

usage: plot.py [--only=NAME ...] [--tables=DIR] [--surface=RUN2] [--beside=RUN3 ...] [--output=DIR] RUN

Makes NAME.pdf, NAME.png and NAME.csv (the numbers that are drawn) of each picture of the folder pictures/, and says which it left
out and why. Exit code 0: drawn; 2: no such picture; 65: nothing to draw; 74: cannot write.
"""

import argparse
import os
import sys

try:
    from pictures import about, names_and_modules, shared
except ImportError as missing:
    sys.exit(f"metavar: plot needs the Python packages matplotlib and numpy ({missing}); Debian: apt install python3-matplotlib")

EXIT_USAGE, EXIT_DATA, EXIT_IO = 2, 65, 74


def complain(text):
    print(f"metavar: {text}", file=sys.stderr)


def draw(name, picture, tables, folder):
    drawn = shared.draw(picture, tables)
    files = {"pdf": shared.as_bytes(drawn.figure, "pdf"), "png": shared.as_bytes(drawn.figure, "png"), "csv": shared.as_csv(drawn.rows)}
    shared.plt.close(drawn.figure)
    for kind, content in files.items():
        path = os.path.join(folder, f"{name}.{kind}")
        shared.write(path, content)
        print(path, flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("run")
    parser.add_argument("--only", action="append")
    parser.add_argument("--tables")
    parser.add_argument("--surface")
    parser.add_argument("--beside", action="append")
    parser.add_argument("--output")
    options = parser.parse_args()
    pictures = names_and_modules()
    for name in options.only or []:
        if name not in pictures:
            complain(f"there is no picture '{name}'; there are {', '.join(pictures)}")
            return EXIT_USAGE
    try:
        tables = shared.tables_of(shared.run_folder(options.run), options.tables)
        if options.surface:
            tables.surface = shared.surface_of(options.surface)
        tables.beside = [shared.curves_of(run) for run in options.beside or []]
    except shared.LeftOut as reason:
        complain(reason)
        return EXIT_DATA
    folder = options.output or tables.folder
    wanted = {name: picture for name, picture in pictures.items() if name in (options.only or about(tables))}
    missing = 0
    for name, picture in wanted.items():
        try:
            os.makedirs(folder, exist_ok=True)
            draw(name, picture, tables, folder)
        except shared.LeftOut as reason:
            complain(f"left out {name}: {reason}")
            missing += 1
        except OSError as error:
            complain(f"cannot write {error.filename}: {error.strerror}")
            return EXIT_IO
    return EXIT_DATA if missing == len(wanted) or options.only and missing else 0


if __name__ == "__main__":
    sys.exit(main())
