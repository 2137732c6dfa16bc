from mnist_s7.cli import main

raise SystemExit(main())
