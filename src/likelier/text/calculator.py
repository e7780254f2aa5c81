"""A calculator as a tool: `ppo.tools: [likelier.text.calculator:calc]` answers `<calc>12*7</calc>` with `84`."""

import ast
import operator
from collections.abc import Callable
from fractions import Fraction

MAX_CHARACTERS, MAX_POWER, MAX_DIGITS = 200, 64, 100
ERROR = "error"
SIGNS = str.maketrans({"×": "*", "÷": "/", "−": "-", ",": None})
OPERATORS: dict[type[ast.operator], Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: lambda left, right: Fraction(left // right),
    ast.Mod: operator.mod,
}


def calc(text: str) -> str:
    """The value of an expression of numbers with + - * / // % ** and brackets, exactly where it is whole, else to ten
    digits; `error` for any other text, a division by zero, and values beyond `MAX_DIGITS` digits.

    >>> calc("(12 + 3) * 7")
    '105'
    """
    try:
        # Never `eval`: the text is written by a model.
        value = compute(ast.parse(text.strip().translate(SIGNS)[: MAX_CHARACTERS + 1], mode="eval").body)
    except (ArithmeticError, SyntaxError, ValueError, RecursionError, MemoryError):
        return ERROR
    if len(text) > MAX_CHARACTERS:
        return ERROR
    return str(value.numerator) if value.denominator == 1 else f"{float(value):.10g}"


def compute(node: ast.expr) -> Fraction:
    """The value of a parsed expression. ValueError: something else than numbers and operators, or a value too large."""
    match node:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            value = Fraction(repr(number))
        case ast.UnaryOp(op=ast.USub() | ast.UAdd() as sign, operand=inner):
            value = -compute(inner) if isinstance(sign, ast.USub) else compute(inner)
        case ast.BinOp(left=left, op=ast.Pow(), right=right):
            value = raise_to_power(compute(left), compute(right))
        case ast.BinOp(left=left, op=sign, right=right) if type(sign) in OPERATORS:
            value = OPERATORS[type(sign)](compute(left), compute(right))
        case _:
            raise ValueError("no expression of numbers")
    if max(abs(value.numerator), value.denominator) >= 10**MAX_DIGITS:
        raise ValueError("too large")
    return value


def raise_to_power(base: Fraction, power: Fraction) -> Fraction:
    """`base` to a whole power. ValueError: another power, or one beyond `MAX_POWER`."""
    if power.denominator != 1 or abs(power) > MAX_POWER:
        raise ValueError("no small whole power")
    return Fraction(base ** int(power))
