"""``python -m wirt.daemon``"""

import sys

from wirt.daemon.main import main

if __name__ == "__main__":
    sys.exit(main())
