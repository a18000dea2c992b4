# lanflow in a container, for clusters with apptainer and for Kubernetes; CPU, without torch.
#   docker build --tag lanflow .
#   docker run --rm --user "$(id -u)" --volume "$PWD:/study" lanflow \
#       snakemake --snakefile /lanflow/Snakefile --configfile my_study.yaml --cores 2
# A test runs each step in a clean environment.
FROM python:3.12-slim

# Of whichever user the container runs as, who need not have a home there.
ENV HOME=/tmp MPLCONFIGDIR=/tmp/matplotlib UV_SYSTEM_PYTHON=1 UV_COMPILE_BYTECODE=1
RUN python -m pip install --no-cache-dir uv

WORKDIR /lanflow
COPY pyproject.toml constraints-3.12.txt README.md LICENSE ./
COPY workflow workflow
RUN uv pip install --no-cache --constraint constraints-3.12.txt \
        --editable ".[jax,mlflow,generate,evaluate,publish,workflow]"
COPY Snakefile environment.yml ./
COPY scripts scripts
COPY config config
COPY profiles profiles

WORKDIR /study
USER 1000
CMD ["lanflow", "--help"]
