# s1x for machines with NVIDIA GPUs (driver 580 or newer for CUDA 13 wheels).
#   docker build -t s1x .
#   docker run --gpus all --ipc=host -v $PWD/outputs:/s1x/outputs s1x +experiment=s1k scale=h100x8 stages=[plan]
FROM python:3.11-slim-bookworm

# numactl: vLLM binds its workers; git: the version is read from tags
RUN apt-get update \
 && apt-get install -y --no-install-recommends git libnuma1 \
 && rm -rf /var/lib/apt/lists/*

WORKDIR /s1x
COPY . .
RUN pip install --no-cache-dir torch==2.13.0 \
 && pip install --no-cache-dir -e ".[gpu,tensorboard,slurm]"

ENV OMP_WAIT_POLICY=PASSIVE TOKENIZERS_PARALLELISM=false HF_HUB_DISABLE_PROGRESS_BARS=1
VOLUME /s1x/outputs
ENTRYPOINT ["s1x"]
CMD ["--help"]
