# s1x for machines with NVIDIA GPUs: the set-up of `make setup-gpu`, with the driver (580 or newer) from the host.
#   docker build -t s1x .
#   docker run --gpus all --ipc=host -v $PWD/outputs:/s1x/outputs s1x +experiment=s1k scale=h100x8 stages=[plan]
FROM python:3.11-slim-bookworm

# gcc: Triton compiles a small module for the driver that it finds; g++: DeepSpeed's AdamW for the host, where it
# offloads; libnuma1: vLLM binds its workers;
# git: the version is read from tags
RUN apt-get update \
 && apt-get install -y --no-install-recommends gcc g++ libc6-dev git libnuma1 make \
 && rm -rf /var/lib/apt/lists/*

WORKDIR /s1x
COPY . .
RUN PIP_NO_CACHE_DIR=1 make setup-gpu VENV=/opt/s1x

ENV PATH=/opt/s1x/bin:$PATH OMP_WAIT_POLICY=PASSIVE TOKENIZERS_PARALLELISM=false HF_HUB_DISABLE_PROGRESS_BARS=1
VOLUME /s1x/outputs
ENTRYPOINT ["s1x"]
CMD ["--help"]
