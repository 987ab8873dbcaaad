#!/bin/bash
# Filters of text by luthflow and by datatrove over the same French documents: CPU milliseconds a document, and their ratios.
#
#   filters.sh LUTHFLOW PYTHON
#
# PYTHON is one with datatrove 0.10.1, spacy 3.8 and ftfy 6.3.1 in it; with fasttext-predict 0.9.2.4 and the model that
# tests/models/fetch.sh fetches, languages and labels are too. Documents are made of pipelines/data. luthflow's figures are of
# whole runs of the program, less one that reads and writes the same rows and judges nothing; datatrove's are of its filters
# alone. The load average is printed because it decides what the times are worth, and CPU time less than wall time.
set -eu
exec "$2" "$(dirname "$(realpath "$0")")/filters.py" "$(realpath "$1")"
