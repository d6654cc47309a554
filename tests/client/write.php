<?php

// write.py for PHP: numbered rows by turns plain, idempotent and looked for; what came of each is told at the end of the input.

declare(strict_types=1);

require dirname(__DIR__, 2) . '/clients/php/DatabaseHA.php';

$database = DatabaseHA::fromEnvironment(deadline: 20.0);
$ledger = ['acknowledged' => [], 'not_committed' => [], 'unknown' => [], 'errors' => []];
[$number, $slowest, $told] = [0, 0.0, []];
stream_set_blocking(STDIN, false);
while (!feof(STDIN)) {
    fread(STDIN, 100);
    usleep(20_000);
    $number++;
    $began = microtime(true);
    $again = $number % 3 === 1 ? ' ON CONFLICT DO NOTHING' : '';
    $insert = static fn (PDO $pdo) => $pdo->exec("INSERT INTO app_ledger VALUES ('php', $number)$again");
    $landed = static fn (PDO $pdo): bool =>
        (bool) $pdo->query("SELECT count(*) FROM app_ledger WHERE client = 'php' AND number = $number")->fetchColumn();
    try {
        $database->run($insert, idempotent: $number % 3 === 1, landed: $number % 3 === 2 ? $landed : null);
        $kind = 'acknowledged';
    } catch (Throwable $error) {
        $kind = match (get_class($error)) {
            'Unavailable' => 'not_committed',
            'OutcomeUnknown' => 'unknown',
            default => 'errors',
        };
        $told[] = $number . ': ' . get_class($error) . ': ' . $error->getMessage();
    }
    $ledger[$kind][] = $number;
    $slowest = max($slowest, microtime(true) - $began);
}
echo json_encode(
    ['client' => 'php', 'attempted' => $number, 'slowest' => $slowest, 'told' => array_slice($told, 0, 50)] + $ledger
), "\n";
