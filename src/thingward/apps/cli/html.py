"""The self-contained HTML report: one file, no script, no address outside itself."""

from __future__ import annotations

from jinja2 import Environment, PackageLoader, StrictUndefined

from thingward.apps.cli import plots, words
from thingward.model.device import device_name
from thingward.runtime.guard_result import GuardResult


def render_html(result: GuardResult) -> str:
    """Render the report; everything from the network is escaped."""
    environment = Environment(
        loader=PackageLoader("thingward.apps.cli"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters.update(
        time=words.time_text,
        severity=words.severity_text,
        name=device_name,
        identity=words.identity_text,
        acl=words.acl_text,
        settled=words.settled_text,
    )
    views = result.views
    return environment.get_template("report.html.j2").render(
        result=result,
        plots=plots,
        blank=words.is_blank(result),
        packets=sum(report.data.packets for report in result.sources),
        unknown=sum(1 for view in result.single_devices if not view.device.identified),
        settled=sum(1 for view in result.single_devices if view.profile and view.profile.settled.is_settled),
        names={view.device.uid: device_name(view.device) for view in views},
    )
