"""`python health.py URL`: exit code 0 when what runs in this container answers there with a success, 1 otherwise.

For the images' HEALTHCHECK. Loopback only, so a certificate is not looked at.
"""

import ssl
import sys
import urllib.error
import urllib.request

SECONDS_MAX = 5


def main(url: str) -> int:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    try:
        with opener.open(url, timeout=SECONDS_MAX):
            return 0
    except (urllib.error.URLError, OSError) as error:
        sys.stderr.write(f"{url}: {error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
