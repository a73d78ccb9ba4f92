from rather.cli import main

main()
