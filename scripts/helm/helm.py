"""Asks Helm about a chart: a list of questions as JSON on standard input, as many answers as JSON on standard output.

    {"chart": DIRECTORY, "name": RELEASE, "namespace": NAMESPACE, "values": {...}, "upgrade": false}

The answer has "files", the rendered text by template, or "refused", what Helm says is wrong with the values or the
templates. With "lint": true it has "findings" instead. Nothing is sent anywhere: Helm renders offline.
"""

import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "target" / "helm"))

import helm_python as helm  # noqa: E402


def answer(question):
    """What Helm says to one question."""
    values = question.get("values", {})
    if question.get("lint"):
        return {"findings": helm.lint(question["chart"], values=values, namespace=question["namespace"])["messages"]}
    with helm.Chart.load(question["chart"]) as chart:
        try:
            chart.validate_schema(values)
            upgrade = question.get("upgrade", False)
            files = chart.render(
                values,
                name=question["name"],
                namespace=question["namespace"],
                is_install=not upgrade,
                is_upgrade=upgrade,
            )
        except helm.HelmError as error:
            return {"refused": str(error)}
        return {"files": files}


print(json.dumps([answer(question) for question in json.load(sys.stdin)]))
