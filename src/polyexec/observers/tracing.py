"""OpenTelemetry spans: one for each group that was sent, with one inside for each stage.

They are made from results, after the fact, with the times that the path has taken anyway.
"""

from typing import TYPE_CHECKING, Final

from polyexec.errors import ConfigError
from polyexec.results import Latency, TradeResult
from polyexec.signals import ArbSignal

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider

__all__ = ["Spans"]

# In the order in which they follow each other.
_STAGES: Final = tuple(name for name in Latency.__struct_fields__ if name != "total_us")


class Spans:
    """Makes spans of results.

    Parameters
    ----------
    provider : TracerProvider or None
        None: the one that the process has set.

    Raises
    ------
    ConfigError
        ``opentelemetry-api`` is not installed.

    Notes
    -----
    Stages follow each other without gaps and end when the result did. Between submit and result
    the group policy may have waited; ``polyexec.group`` holds the whole time.
    """

    def __init__(self, provider: "TracerProvider | None" = None) -> None:
        try:
            from opentelemetry import trace  # noqa: PLC0415  an extra, only when asked for
        except ImportError:
            raise ConfigError(
                "METRICS_SPANS: needs opentelemetry-api: pip install 'polyexec[otel]'"
            ) from None
        self._trace = trace
        self._tracer = trace.get_tracer("polyexec", tracer_provider=provider)

    def add(self, result: TradeResult) -> None:
        """Make the spans of a result; of a skipped one: none."""
        if result.skipped is not None:
            return
        trace, latency = self._trace, result.latency
        stages = [(name, round(getattr(latency, name) * 1000)) for name in _STAGES]
        end_ns = result.finished_ms * 1_000_000
        length_ns = max(round(latency.total_us * 1000), sum(took for _, took in stages))
        start_ns = end_ns - length_ns
        group = self._tracer.start_span(
            "polyexec.group", start_time=start_ns, attributes=_attributes(result)
        )
        if not result.success:
            code = trace.StatusCode.ERROR
            group.set_status(trace.Status(code, "unknown" if result.unknown_orders else "failed"))
        inside = trace.set_span_in_context(group)
        at_ns = start_ns
        for name, took_ns in stages:
            if took_ns:
                label = f"polyexec.{name.removesuffix('_us')}"
                span = self._tracer.start_span(label, context=inside, start_time=at_ns)
                at_ns += took_ns
                span.end(at_ns)
        group.end(end_ns)


def _attributes(result: TradeResult) -> dict[str, str | int | float | bool | tuple[str, ...]]:
    signal = result.signal
    strategy = str(signal.strategy) if isinstance(signal, ArbSignal) else "LEGS"
    return {
        "polyexec.strategy": strategy,
        "polyexec.group_key": signal.group_key,
        "polyexec.event_slug": signal.event_slug,
        "polyexec.success": result.success,
        "polyexec.order_ids": tuple(leg.order_id for leg in result.legs),
        "polyexec.leg_states": tuple(str(leg.state) for leg in result.legs),
        "polyexec.cost_dollars": result.cost_micro / 1e6,
        "polyexec.expected_pnl_dollars": result.expected_pnl_micro / 1e6,
    }
