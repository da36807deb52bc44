"""``clip4str serve``: a web page and an HTTP service."""

from __future__ import annotations

import argparse
from functools import partial

from clip4str_plugin.cli import UsageError, options

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the sub-command."""
    group = parser.add_argument_group("service")
    group.add_argument(
        "--host",
        default="127.0.0.1",
        metavar="ADDRESS",
        help="address to listen on; 0.0.0.0 is every network (default: %(default)s)",
    )
    group.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="host name under which browsers may reach the service, for example that of a proxy; may be repeated, * "
        "allows any (localhost, this machine's name and IP addresses always work)",
    )
    group.add_argument(
        "--port",
        type=partial(options.whole, least=0, most=65535),
        default=8000,
        metavar="N",
        help="0 picks a free one (default: %(default)s)",
    )
    group.add_argument(
        "--max-upload",
        type=_size,
        default="25M",
        metavar="BYTES",
        help="size limit of a request, for example 500K or 25M (default: 25M)",
    )
    group.add_argument(
        "--max-pixels",
        type=_size,
        default="50M",
        metavar="N",
        help="pixel limit of a page, for example 50M (default: 50M)",
    )
    group.add_argument(
        "--max-pages",
        type=options.positive,
        default=30,
        metavar="N",
        help="page limit of a request (default: %(default)s)",
    )
    group.add_argument(
        "--queue",
        type=options.not_negative,
        default=16,
        metavar="N",
        help="requests that may wait; further ones get status 429 (default: 16)",
    )
    group.add_argument(
        "--workers",
        type=options.positive,
        default=4,
        metavar="N",
        help="requests read at the same time (default: %(default)s)",
    )
    group.add_argument(
        "--timeout",
        type=float,
        default=120.0,
        metavar="SECONDS",
        help="time limit for reading a request (default: %(default)g)",
    )
    options.add_detector_arguments(parser)
    options.add_model_arguments(parser)
    options.add_charset_argument(parser)
    parser.add_argument("--orientation", choices=["off", "auto", "on"], default="auto", help="as for `clip4str read`")
    options.add_views_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Serve until interrupted."""
    from clip4str_plugin.plugins import import_host

    for module in ("fastapi", "python_multipart", "prometheus_client", "uvicorn"):
        import_host(module, "serve")
    from clip4str_plugin.service import Limits, create_app
    from clip4str_plugin.service.server import bind, build_server

    try:
        limits = Limits(
            max_upload=args.max_upload,
            max_pixels=args.max_pixels,
            max_pages=args.max_pages,
            queue=args.queue,
            workers=args.workers,
            timeout=args.timeout,
        )
    except ValueError as error:
        raise UsageError(str(error)) from None
    # Before the models are loaded: an address that is taken should not take seconds to say so.
    with bind(args.host, args.port) as listener:
        app = create_app(
            options.build_detector(args),
            options.build_recognizer(args),
            limits,
            orientation=args.orientation,
            other_views=args.other_views,
            names=(args.detector, args.model),
            hosts=(*args.allow_host, args.host),
        )
        app.state.job_queue.warm_up()
        host = f"[{args.host}]" if ":" in args.host else args.host
        print(f"Reading at http://{host}:{listener.getsockname()[1]}/ - stop with Ctrl+C", flush=True)
        build_server(app, limits, "info" if args.verbose else "warning").run(sockets=[listener])
    return 0


def _size(text: str) -> int:
    """Parse a whole number, possibly with a K or an M behind it; for ``type=`` of argparse."""
    factor = {"K": 1000, "M": 1_000_000}.get(text[-1:].upper(), 1)
    number = text[:-1] if factor > 1 else text
    if not number.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number such as 25000000 or 25M")
    return options.whole(number) * factor
