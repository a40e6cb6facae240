"""DeepSpeed ZeRO-3: weights, gradients and optimizer states sharded over all ranks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from s1x.errors import SettingError
from s1x.option import option, setting
from s1x.train.settings import TrainSettings

#: keys of DeepSpeed's configuration that may be given; the others are the recipe's or do nothing
EXTRA_KEYS = (
    *("zero_optimization", "communication_data_type", "data_types", "prescale_gradients"),
    *("gradient_predivide_factor", "disable_allgather", "aio", "comms_logger", "flops_profiler"),
    *("wall_clock_breakdown", "memory_breakdown", "steps_per_print", "dump_state"),
)
#: and of its `zero_optimization`
EXTRA_ZERO_KEYS = (
    *("allgather_bucket_size", "allgather_partitions", "contiguous_gradients", "overlap_comm"),
    *("reduce_bucket_size", "reduce_scatter", "round_robin_gradients", "sub_group_size"),
    *("stage3_max_live_parameters", "stage3_max_reuse_distance", "stage3_prefetch_bucket_size"),
    *("stage3_param_persistence_threshold", "stage3_model_persistence_threshold"),
    *("stage3_module_granularity_threshold", "stage3_use_all_reduce_for_fetch_params"),
    *("stage3_allgather_sequential", "zero_hpz_partition_size", "zero_quantized_weights"),
    *("zero_quantized_gradients", "memory_efficient_linear", "leaf_module", "parameter_alignment"),
    *("log_trace_cache_warnings", "enable_sanity_checks"),
)


@option("train", "deepspeed_zero3")
@dataclass(frozen=True)
class DeepspeedZero3(TrainSettings):
    """What s1-32B is trained with at the GPU scales.

    bfloat16 weights and gradients (4 bytes a parameter), float32 master weights and AdamW states
    (12 bytes), all divided by the ranks; a layer's weights are gathered when it works.
    """

    placement: ClassVar[str] = "s1x.train.rank.zero3.Zero3"
    sharded: ClassVar[bool] = True
    strategy_needs: ClassVar[tuple[str, ...]] = ("deepspeed",)

    bucket_parameters: int = setting(
        200_000_000, "gathered or reduced at once; less: less memory, more messages", at_least=1000
    )
    extra_config: dict[str, Any] = setting(
        factory=dict,
        doc="further keys of DeepSpeed's own configuration, over ours: "
        "{zero_optimization: {zero_hpz_partition_size: 8}, communication_data_type: fp32}, say",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, plain in (("optimizer_states", "float32"), ("compiled", False)):
            if getattr(self, name) != plain:
                raise SettingError(
                    name, f"{plain} under DeepSpeed", getattr(self, name), "use train=fsdp"
                )
        zero = self.extra_config.get("zero_optimization", {})
        known = {"extra_config": EXTRA_KEYS, "extra_config.zero_optimization": EXTRA_ZERO_KEYS}
        for (place, keys), given in zip(known.items(), (self.extra_config, zero), strict=True):
            for key in given:
                if key not in keys:
                    remedy = "batches, precision, clipping and offloading are settings of train"
                    raise SettingError(place, f"of keys among {', '.join(keys)}", key, remedy)
        size, ranks = self.hierarchy, self.devices_per_node
        if ranks and ranks % size:
            raise SettingError(
                "extra_config.zero_optimization.zero_hpz_partition_size",
                f"a divisor of devices_per_node ({ranks})",
                size,
            )

    @property
    def hierarchy(self) -> int:
        """Ranks that hold one more whole copy of the weights among them; 1: none do."""
        return int(self.extra_config.get("zero_optimization", {}).get("zero_hpz_partition_size", 1))
